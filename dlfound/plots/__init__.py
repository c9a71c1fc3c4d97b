"""What is drawn from files: pictures out, nothing of nets or loops in."""
