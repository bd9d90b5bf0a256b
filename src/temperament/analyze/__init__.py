"""What personas are made of, and how their effect depends on their settings."""
