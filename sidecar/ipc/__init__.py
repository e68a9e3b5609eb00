"""Between main and its workers: messages, the channel they go over, numbers in shared memory."""
