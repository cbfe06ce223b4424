"""What a network that has learned from rendered people sees in a photo: dense landmarks and parts."""
