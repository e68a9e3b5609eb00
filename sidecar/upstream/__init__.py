"""The fourth floor: clusters, hosts, load balancers, pools, upstream connections."""
