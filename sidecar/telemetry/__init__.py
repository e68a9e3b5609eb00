"""What is told about traffic: access logs, Istio's labels."""
