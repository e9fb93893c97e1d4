"""GitLab CI: pipelines by access token and by trigger token, on gitlab.com and on installations of one's own."""
