"""Faults on real Asterisks under load, the same for sipbalancer, Kamailio and (where it makes sense) no balancer."""
