"""Resources in the shape in which istiod 1.29 sends them, as proto-JSON.

Small functions that look like the data that they make; `tests/control_plane/test_shapes.py`
compares them with recordings. Telemetry (access logs, tracing) is left out.
"""
