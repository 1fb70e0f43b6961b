"""What the platform costs: its goals and laws measured side by side with what it is compared to."""
