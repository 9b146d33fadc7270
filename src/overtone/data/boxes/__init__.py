"""Images with boxes: COCO, BCCD and anyone's own, annotated as COCO JSON, Pascal VOC XML or YOLO text."""
