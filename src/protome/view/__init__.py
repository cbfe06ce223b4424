"""A live viewer of results and scenes in the browser: cameras, photos, mesh, slices of the field, latents."""
