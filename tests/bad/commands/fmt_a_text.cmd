fmt README.md
