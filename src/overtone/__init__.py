"""Overtone: multi-modal, multi-teacher knowledge distillation with frequency attention."""
