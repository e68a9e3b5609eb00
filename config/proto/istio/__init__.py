"""Istio's own configuration messages: the .proto files and what protoc makes of them.

Made by (in the repository's root; the generated files are committed):

    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. config/proto/istio/*.proto
"""
