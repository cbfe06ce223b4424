"""The open sources that training heads are made from."""
