"""The traffic manager: model-execution traffic as real bytes, in a lane of its own.

    sizes       bytes of the collectives of a token in a layer
    fusing      layers that share a collective, so that this machine can carry the messages
    members     the engines of a role, and the queue pairs between them
    exchange    all-to-all: dispatch of tokens to their experts, combine of the results
    ring        ring all-reduce inside a node, for dense models
    execution   what engines call
    submission  what it costs to submit transfers

All but `exchange`, `ring` and `execution` are pure.
"""
