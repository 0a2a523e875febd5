# sipbalancer in a container: compiled in a stage of its own, hash-locked dependencies, no root, no compiler in what runs.
#
#   docker build -t sipbalancer .
#   docker run --network host -v /etc/sipbalancer:/etc/sipbalancer:ro -v sipbalancer:/var/lib/sipbalancer sipbalancer
#
# SIP carries addresses inside its messages, and the servers answer to the address they see. So:
#   --network host  is the plain way: `virtual =` is an address of the host, nothing is translated.
#   A bridge        needs `virtual =` the container's own address (a fixed one: --ip), `-p 5060:5060/udp`, and in the
#                   section `advertise = ADDRESS:PORT`, what clients and servers can reach from outside. Clients must
#                   arrive with their own address: a proxy or NAT before the container makes all of them one client.
# Large socket buffers are the host's to give: sysctl -w net.core.rmem_max=8388608 net.core.wmem_max=8388608
# The admin socket is inside: docker exec NAME sipbalancer status

FROM python:3.11-slim-bookworm AS compile
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY requirements/build.txt requirements/run.txt requirements/compile.txt requirements/
RUN python3 -m venv /opt/compiler \
 && /opt/compiler/bin/python -m pip install --no-cache-dir --require-hashes \
        -r requirements/build.txt -r requirements/run.txt \
 && /opt/compiler/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/compile.txt
COPY setup.py pyproject.toml README.md ./
COPY sipbalancer sipbalancer
RUN SIPBALANCER_COMPILED=1 /opt/compiler/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements/run.txt requirements/
RUN python3 -m venv /opt/sipbalancer \
 && /opt/sipbalancer/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY --from=compile /wheel /wheel
RUN /opt/sipbalancer/bin/python -m pip install --no-cache-dir --no-deps /wheel/*.whl

FROM python:3.11-slim-bookworm
RUN groupadd --system --gid 5060 sipbalancer \
 && useradd --system --uid 5060 --gid sipbalancer --no-create-home --home-dir /var/lib/sipbalancer sipbalancer \
 && install -d -o sipbalancer -g sipbalancer -m 0750 /run/sipbalancer /var/lib/sipbalancer
COPY --from=build /opt/sipbalancer /opt/sipbalancer
ENV PATH=/opt/sipbalancer/bin:$PATH PYTHONUNBUFFERED=1
# Where `metrics =` of the file listens.
ENV SIPBALANCER_METRICS=127.0.0.1:9436
VOLUME /var/lib/sipbalancer
USER sipbalancer
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen(f'http://{os.environ[\"SIPBALANCER_METRICS\"]}/healthz', timeout=2)"]
ENTRYPOINT ["sipbalancer"]
CMD ["run", "/etc/sipbalancer/sipbalancer.cf"]
