"""Control messages between the processes of a cluster, on the management network."""
