"""Operations: notifications, disk, retention."""
