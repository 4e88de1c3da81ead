"""Quality control: what is measured on images, and what is made of it."""
