"""MakeHuman's base mesh, clothes, skins and shapes."""
