"""What the proxy was told: bootstrap parsing, the immutable model, protobuf -> model translation.

Reading order: `errors` (how a problem is reported), `bootstrap` (text -> messages -> model), `model/` (what the
rest of the program sees), `proto/` (the only modules that import generated Envoy messages).

This package opens no file, holds no live object and knows no filter's behaviour.
"""
