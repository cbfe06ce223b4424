"""The mesh template of heads, made from ICT-FaceKit."""
