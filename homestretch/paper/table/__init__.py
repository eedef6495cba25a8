"""The paper's table: its cells, run and kept one by one, and what they come to."""
