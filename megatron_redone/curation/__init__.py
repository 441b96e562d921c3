"""Offline data work, without torch: cleaning, filters and deduplication of posts on datatrove."""
