"""Images of fields: tracing, the differentiable hit point, rendering."""
