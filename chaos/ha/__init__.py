"""A Patroni cluster of our own on loopback: etcd, three nodes, HAProxy, and proxies that cut a node off."""
