"""What makes the generated parts of docs/ (``make docs``), and what its tests share."""
