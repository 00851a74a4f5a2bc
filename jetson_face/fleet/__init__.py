"""Many boxes: people, erasures and events over a NATS server with JetStream (extra `fleet`)."""
