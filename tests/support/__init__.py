"""What the tests share: ports, processes, peers, certificates and strict readers of what comes back."""
