"""Fetching and resizing of images: img2dataset's downloader, one shard in one guarded child process."""
