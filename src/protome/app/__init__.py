"""The local app: a web page and an HTTP API that turn photos into heads, each job in a process of its own."""
