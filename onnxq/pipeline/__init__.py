"""What a pass is, how pipelines are written as text, and how they run and are watched."""
