"""Istio's own configuration messages: the .proto files and what protoc makes of them.

Made by (in the repository's root; the generated files are committed), with a grpcio-tools of the protobuf version that
pyproject.toml asks for at least, because generated files refuse an older runtime than their own:

    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. config/proto/istio/*.proto
"""
