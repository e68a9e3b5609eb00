"""What serves traffic: the live objects of a configuration, in a process of their own or in that of main."""
