"""``python -m deepseek_prof`` is ``deepseek-prof``."""

from deepseek_prof.cli.app import main

if __name__ == "__main__":
    main()
