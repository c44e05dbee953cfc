#!/bin/bash
# One network, trained by 4 processes on 2 nodes. Submit it with: sbatch slurm_ranks.sh FOLDER
#SBATCH --job-name=arraymlp-ranks
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
# Ten minutes before the time is over each process gets a SIGTERM. They all stop after the same
# step, and rank 0 writes the last checkpoint; the same command goes on from it.
#SBATCH --signal=TERM@600
set -euo pipefail

# Each process computes with as many threads as it has cores here. The result is the same with any
# number of processes and threads, on nodes with the same kind of processor.
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
srun python -m mpi4py train_over_ranks.py "$1"
