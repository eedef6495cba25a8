"""homestretch inside other people's training loops. Each module needs its library, and is imported only by who uses it."""
