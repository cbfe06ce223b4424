"""From a head and its photos to an asset: a light mesh, an atlas, a texture baked from the photos, files."""
