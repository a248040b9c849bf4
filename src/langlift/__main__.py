"""``python -m langlift``: the command line, as ``accelerate launch -m langlift`` needs it."""

from langlift.cli.main import main

main()
