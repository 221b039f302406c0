"""What is written: the graph with its external data, and the small files of the model folder."""
