"""`redone doctor`: one page on this machine, and a training step on two processes to see that it works."""

from megatron_redone.doctor.diagnosis import report_diagnosis

run = report_diagnosis
