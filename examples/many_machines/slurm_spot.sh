#!/bin/bash
# A training in a queue whose jobs may be preempted. Submit it with: sbatch slurm_spot.sh FOLDER
#SBATCH --job-name=arraymlp-spot
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --time=01:00:00
# Two minutes before the time is over the script gets a SIGTERM, as it does when it is preempted.
#SBATCH --signal=B:TERM@120
set -uo pipefail

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
python spot.py "$1" &
training=$!
trap 'kill -TERM $training' TERM
wait $training
status=$?
if [ $status -gt 128 ] && kill -0 $training 2>/dev/null; then # the trap ended the first wait
    wait $training
    status=$?
fi
if [ $status = 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
