"""The tables of ci/tables: those that the table path's defaults were chosen on, and the judges.

No table is in both lists, and nothing was chosen by a judge. They were first looked at when all but
two of the defaults were fixed; these two, the weights' average and decay, were then changed by what
they gave on the choosing tables.
"""

from real_tables import CHOSEN_ON, Table

MOST_ROWS = 4000  # a larger table is a sample of so many of its rows

_OF_DEFAULTS = (
    *("ames", "concrete", "Sacramento", "Computers", "Boston", "diamonds", "evals", "gpa2"),
    *("credit_data", "cells", "attrition", "OJ", "brca", "mlc_churn", "spam7", "HMDA"),
)
CHOOSING = (
    *(table for table in CHOSEN_ON if table.item in _OF_DEFAULTS),
    Table("sklearn", "digits", "target", classifies=True),
)
JUDGES = (
    Table("mosaicData", "SaratogaHouses", "price"),
    Table("ISLR", "Auto", "mpg", ("name",)),
    Table("modeldata", "car_prices", "Price"),
    Table("modeldata", "deliveries", "time_to_delivery"),
    Table("modeldata", "hotel_rates", "avg_price_per_room", ("arrival_date",)),
    Table("modeldata", "Chicago", "ridership", ("date",)),
    Table("AER", "CPS1985", "wage"),
    Table("carData", "Salaries", "salary"),
    Table("mlmRev", "bdf", "langPOST", ("aritPOST", "schoolNR", "pupilNR", "classNR")),
    Table("nlme", "Remifentanil", "conc", ("ID", "Subject")),
    Table("ratdat", "complete_old", "weight", ("record_id", "species_id", "species")),
    Table("sklearn", "diabetes", "target"),
    Table("modeldata", "wa_churn", "churn", classifies=True),
    Table("modeldata", "hpc_data", "class", classifies=True),
    Table("modeldata", "lending_club", "Class", classifies=True),
    Table("modeldata", "stackoverflow", "Remote", classifies=True),
    Table("modeldata", "ad_data", "Class", classifies=True),
    Table("modeldata", "leaf_id_flavia", "species", classifies=True),
    Table("vcdExtra", "Titanicp", "survived", classifies=True),
    Table("carData", "Mroz", "lfp", classifies=True),
    Table("carData", "BEPS", "vote", classifies=True),
    Table("MASS", "biopsy", "class", ("ID",), classifies=True),
    Table("AER", "CreditCard", "card", ("share", "expenditure"), classifies=True),
    Table("Ecdat", "Fishing", "mode", ("price", "catch"), classifies=True),
    Table("openintro", "email", "spam", ("time",), classifies=True),
    Table("sklearn", "wine", "target", classifies=True),
)
