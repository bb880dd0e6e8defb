"""What people and machines look at."""

from meshsdk.admin.metrics import metrics_asgi, metrics_wsgi

__all__ = ["metrics_asgi", "metrics_wsgi"]
