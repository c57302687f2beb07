"""State that the replicas of the gateway share: in Redis or Valkey, or in this process's memory."""
