//! Projections of find, $project, $addFields, $unset.
