"""SNS-Bench's scores (HC-Guo/SNS-Bench; RedOne, arXiv 2507.10605): as published, and with its defects mended."""
