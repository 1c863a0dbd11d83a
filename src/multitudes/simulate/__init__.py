"""What happens: conversations, surveys, targets, guards, transcripts."""
