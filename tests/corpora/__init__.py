"""Raw protocol inputs, what must become of them, and what Envoy 1.40 did.

`http1.json` holds bytes of clients (`cases`) and bytes of upstreams (`responses`). `judge.py` turns what was observed
into outcomes and lists what is wrong; `runner.py` plays all cases through a real proxy process.
"""
