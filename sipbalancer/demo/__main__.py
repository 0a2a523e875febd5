"""`python -m sipbalancer.demo`: the same as `sipbalancer demo`."""

from __future__ import annotations

from .main import main

raise SystemExit(main())
