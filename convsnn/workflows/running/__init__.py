"""How work is run: in which precision, by how many processes, and how it goes on after a stop."""
