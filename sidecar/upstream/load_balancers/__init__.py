"""Load balancers, one file each; `host_selection` is what they share, `edf` the schedule of unequal weights."""
