"""What tests of several packages share: worlds and finished runs, a browser, servers on loopback, small checkpoints."""
